"""The rules of the service: what a request looks like, and what an answer means. Nothing here waits."""
