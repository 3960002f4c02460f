"""The router's room: it decides which model answers, and makes the call.

For the simulated world:
    seeded           draws that depend on names, not on order                            pure
    reply_prose      sentences a support desk writes, endlessly                          pure
    simulation       what a simulated model answers, how long, how fast                  pure
    simulator_wire   OpenAI's JSON, in and out                                           pure
    simulator_config settings of the simulated provider, names of its faults             pure
    provider_log     what it would put on the invoice                                    edge: disk
    simulator        the HTTP server over them                                           edge: aiohttp
    simulator_beside its embeddings and responses                                        edge: aiohttp
    demo_sources     reads the shipped ticket texts and the knowledge base               edge: package data
    demo_tickets     a month of tickets, and what people then do with the drafts         pure

For serving calls:
    config           halfpenny.toml and the environment -> a frozen Config                edge: files
    provider_config  of it, who answers                                                  pure
    errors           refusals as HTTP: a status and OpenAI's error object                pure
    keys             a bearer key -> who is asking
    doors            every way in: path, roles, and what becomes of errors               edge: aiohttp
    capabilities     what a provider takes of OpenAI's contract, by its host              pure
    chat_request     a body parsed once -> ChatRequest -> the bytes that go upstream     pure
    attachments      pictures and files of a request: what bounds their cost             pure
    chat_reply       a provider's reply, read; the gateway's own object put into it      pure
    plausible        whether a reported usage can be that of its text                    pure
    event_stream     a provider's stream, forwarded as bytes and read where it speaks    pure
    classify         asking how hard a ticket is, and reading the answer                 pure
    split            the policies label and fixed -> Decision                            pure
    settlement       the events of an attempt: its hold, and its one end                 pure
    output_bounds    how many tokens a reply may have, from what replies had             pure
    bounding         the same over the ledger's state
    budget_watch     says that spend reached a share of a cap
    warning_hook     tells a webhook of it                                               edge: aiohttp
    unsent           warnings that nobody has taken yet, kept over a restart             edge: disk
    holds            the line in which calls wait for holds to come free                 edge: asyncio
    upstream         the one awaited call on a model                                     edge: aiohttp
    fallback         another model in the place of one that failed
    attempts         one call while it is made, over all its attempts
    calls            the life of a call: hold, send, settle or void, and again           edge: asyncio
    gateway          handlers: chat completions and tickets                              edge: aiohttp
    feedback         handlers: edits and scores                                          edge: aiohttp
    edit_ratio       how much of a draft was changed                                     edge: a child process
    drift            whether models, latency, prices, tickets are still as they were       pure
    drift_folds      the same over events, and what is doubted after a change             pure
    telling          shifts of the split and alarms, told as events
    shadow           a share of tickets sorted a second time by another model
    views            handlers: budget, split, quality, models, health                    edge: aiohttp
    admin            handlers for commands that write through the service                edge: aiohttp
    app              composition: routes, pool, jobs, signals; `run` is the service      edge: the process

The room exports nothing; import the module that is meant.
"""
