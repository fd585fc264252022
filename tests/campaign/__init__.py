"""The campaign: what this package promises, tried often, with wrong inputs and failing machines (docs/reliability.md).

``python -m tests.campaign`` tries and counts. Each module of `rows` is a row of the page's table.
"""
