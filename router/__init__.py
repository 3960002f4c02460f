"""The router's room: it decides which model answers, and makes the call.

For the simulated world:
    seeded           draws that depend on names, not on order                            pure
    reply_prose      sentences a support desk writes, endlessly                          pure
    simulation       what a simulated model answers, how long, how fast                  pure
    simulator_wire   OpenAI's JSON, in and out                                           pure
    simulator_config settings of the simulated provider, names of its faults             pure
    provider_log     what it would put on the invoice                                    edge: disk
    simulator        the HTTP server over them                                           edge: aiohttp
    demo_sources     reads the shipped ticket texts and the knowledge base               edge: package data
    demo_tickets     a month of tickets, and what people then do with the drafts         pure

The room exports nothing; import the module that is meant.
"""
