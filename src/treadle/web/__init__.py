"""The page: server-rendered HTML for people, with a little script to keep it live."""
