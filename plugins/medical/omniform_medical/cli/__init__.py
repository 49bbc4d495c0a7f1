"""The commands of the domain: thin, one file a verb."""
