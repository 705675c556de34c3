"""`ZerobusWriter`: RecordBatches into a table, without Beam."""
