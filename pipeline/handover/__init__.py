"""Handing patches over to other tools: as pictures, as the training code of hdrcnn reads them, as tar shards.

rendered    a patch with its pixels
pictures    EXR and PNG files
hdrcnn      .bin and .jpg files
webdataset  tar shards
formats     the files of each format, and where they lie
folder      the folder they come into
manifest    what is to lie there, what does already
ledger      the manifest as it grows
card        the dataset card, Croissant JSON-LD
"""

from pipeline.handover.card import CardSettings, Holdings, StoredFile, StoredFiles, card_text, make_card
from pipeline.handover.folder import CARD, TABLE, Folder, digest_of
from pipeline.handover.formats import FORMATS, SHARD, SPLITS, Format
from pipeline.handover.ledger import Ledger, recover
from pipeline.handover.manifest import Plan, doubtful_files, make_plan, wanted_rows, without_content
from pipeline.handover.rendered import Rendered
from pipeline.handover.webdataset import write_shard

__all__ = [
    "CARD",
    "FORMATS",
    "SHARD",
    "SPLITS",
    "TABLE",
    "CardSettings",
    "Folder",
    "Format",
    "Holdings",
    "Ledger",
    "Plan",
    "Rendered",
    "StoredFile",
    "StoredFiles",
    "card_text",
    "digest_of",
    "doubtful_files",
    "make_card",
    "make_plan",
    "recover",
    "wanted_rows",
    "without_content",
    "write_shard",
]
