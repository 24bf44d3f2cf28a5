"""Where an engine's CLI, and the agent's tools, look for programs unless the composition root says otherwise."""

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
