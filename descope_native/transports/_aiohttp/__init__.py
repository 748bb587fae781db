"""What stands behind `AiohttpTransport`."""
