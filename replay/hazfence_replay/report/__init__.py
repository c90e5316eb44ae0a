"""Reports over visits and breaches, as tables for programs, spreadsheets and browsers.

You are behind ``hazfence report``. The counting is done in the database (``hazfence.report``, read by
`hazfence.postgis.history`); here its rows get their columns (``columns.py``) and become a page with charts
that works without internet (``page.py``, ``charts.py``), a workbook (``workbook.py``) or CSV.
"""

from hazfence_replay.report.columns import Report, collect, write_csv
from hazfence_replay.report.page import write_html
from hazfence_replay.report.workbook import write_xlsx

__all__ = ["Report", "collect", "write_csv", "write_html", "write_xlsx"]
