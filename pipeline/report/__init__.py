"""A bank as a page, and as text: what was kept, what was not, and why.

survey      the tables as numbers: the yield step by step, by source, how numbers are spread
provenance  what a bank was made with, and the command that makes it again
choice      which patches are shown
rendering   pictures of patches and of their frames, made by a worker
likeness    which sources look alike
charts      distributions, drawn by Matplotlib
threshold   what the page needs to count at any threshold
embedding   the page's data
sections    the page's parts as HTML
page        the page itself
text        the same numbers as text and as JSON
making      from a bank to a folder
"""

from pipeline.report.making import ReportSettings, make_report
from pipeline.report.provenance import trace
from pipeline.report.survey import survey_bank
from pipeline.report.text import status_json, status_lines

__all__ = ["ReportSettings", "make_report", "status_json", "status_lines", "survey_bank", "trace"]
