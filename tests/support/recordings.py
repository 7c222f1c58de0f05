"""Recorded market data that lies beside the checkout on some machines."""

from tests.support.processes import ROOT

RECORDINGS = ROOT.parent / "shared" / "data"

#: One day of EURUSD, NZDUSD and XAUUSD, 256,214 ticks: its presence stands for all files.
RECORDED_DAY = RECORDINGS / "ticks_fx_oanda_20140506.csv.gz"
