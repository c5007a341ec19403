"""What connectors there are: the catalogue of this hub, with the guarantee level of each write."""
