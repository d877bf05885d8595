//! MCP gateway: streamable HTTP in both eras, stdio launcher, pins, filtering.
