"""Reports: reads the ledger and shows it; never appends an event and never calls a model.

A month goes one way: the ledger's own views (warehouse) -> values as read (facts) -> every printed figure,
which is report.json (compose, model) -> words (page) and pictures -> html, pdf; rows -> csv.

    errors       what a report cannot be made of              pure
    model        the report as values: report.json            pure
    worked       hours and their payback, a part of it        pure
    tokens       counts used, counts avoided                  pure
    figures      rounding, shares, intervals                  pure
    facts        a client's month as it was read              pure
    bill         the lines of the bill                        pure
    items        line items, and their digest                 pure
    hits         replies from the cache, what they avoided    pure
    effects      baseline to spend, in steps                  pure
    baselines    the old bot's cost, by every method          pure
    saving       how sure the saving is                       pure
    happenings   what moved the money                         pure
    outlook      the months beside it; payback                pure
    compose      facts -> report                              pure
    english      the words in English                         pure
    german       the words in German                          pure
    words        one language's words by key                  pure
    display      figures in words                             pure
    sentence     the headline                                 pure
    method       what a reader must know                      pure
    layout       what a page is made of                       pure
    money_sections    days, steps, bill, hours, prices        pure
    quality_sections  edit rates, arms, speed                 pure
    page         the report in words, for every template      pure
    charts       SVG by hand                                  pure
    pictures     the report's series as charts                pure
    schedule     which months are due                         pure
    tables       the report as CSV
    workbook     the report as XLSX, with formulas            edge: xlsxwriter
    focus        line items as FOCUS 1.2
    lines        line items as Parquet                        edge: pyarrow
    warehouse    DuckDB, read only, up to one position        edge: duckdb
    asking       a person's SQL, in a process of its own          edge: child processes
    confined     a process that can write nothing             edge: the kernel
    month        the queries of one month
    dictionary   schemas/views.md out of the views' comments
    html, pdf    the two templates                            edge: jinja2, typst
    look         name, logo and colours                       edge: disk
    build        a revision in its place                      edge: disk
    places       where revisions lie                          edge: disk
    job          months closed, reports built and issued      edge: child processes
    delivery     what goes to whom, and what it says
    couriers     mail and webhook                             edge: aiosmtplib, aiohttp
    http         GET /v1/reports                              edge: aiohttp
    difference   two revisions, figure by figure              pure
    late         what was recorded after a close
    settings     the section [reports] of halfpenny.toml
    cli          python -m reports

Imports the ledger and no other room. Exports nothing; import the module you need.
"""
