"""Reading the store: a module for each question, with its statement, its typed row and its function.

`reader` is what the API and the pages use. This package must not write, and must not sum up rows or make JSON: the views do.
"""

from collector.query.forks.received import ReceivedForks
from collector.query.reader import Sizes, StoreReader

__all__ = ["ReceivedForks", "Sizes", "StoreReader"]
