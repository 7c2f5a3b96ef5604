"""CareLink as the CarePartner app sees it, simulated."""
