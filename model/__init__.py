"""The masked U-Net of Santos, Ren and Kalantari 2020: training from a bank, reconstruction of HDR from LDR."""

from pipeline.start import quieten_interrupts

quieten_interrupts()
