"""From folders of HDR images to a bank of training patches (Santos, Ren and Kalantari 2020, Section 3.4 and 4)."""

from importlib.metadata import version

from pipeline.start import quieten_interrupts

__version__ = version("hdrprep")

quieten_interrupts()
