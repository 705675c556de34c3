"""The Databricks workspace: credentials, tokens and Unity Catalog."""
