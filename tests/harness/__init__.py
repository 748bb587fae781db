"""Ground truth: servers that record what really reached them, and calls judged by those records."""
