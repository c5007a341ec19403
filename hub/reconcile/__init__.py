"""What diverges is found: measures of two sides are compared, and each difference is explained or listed."""
