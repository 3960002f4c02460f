"""Reports: reads the ledger and shows it; never appends an event and never calls a model.

A month goes one way: the ledger's own views (warehouse) -> values as read (facts) -> every printed figure,
which is report.json (compose, model) -> words (page) and pictures -> html, pdf; rows -> csv.

    errors       what a report cannot be made of              pure
    model        the report as values: report.json            pure
    figures      rounding, shares, intervals                  pure
    facts        a client's month as it was read              pure
    compose      facts -> report                              pure
    display      figures in words                             pure
    sentence     the headline                                 pure
    method       what a reader must know                      pure
    page         the report in words, for every template      pure
    charts       SVG by hand                                  pure
    pictures     the report's series as charts                pure
    schedule     which months are due                         pure
    tables       the report as CSV
    warehouse    DuckDB, read only, up to one position        edge: duckdb
    month        the queries of one month
    dictionary   schemas/views.md out of the views' comments
    html, pdf    the two templates                            edge: jinja2, typst
    build        a revision in its place                      edge: disk
    settings     the section [reports] of halfpenny.toml
    cli          python -m reports

Imports the ledger and no other room. Exports nothing; import the module you need.
"""
