"""The YoloExperiment resource as pydantic models: the only source of the CRD, its reference and its JSON schema."""
