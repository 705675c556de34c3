"""Apache Beam sink for Databricks Zerobus Ingest."""
