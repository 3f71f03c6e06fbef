"""The mathematics: one inner loop, the meta-gradient over a meta-batch, evaluation. It never names a data set."""
