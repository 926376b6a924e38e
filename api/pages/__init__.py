"""The moderators' page: server-rendered, no scripts."""
