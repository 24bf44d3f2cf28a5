"""Thin clients of GitHub, GitLab and Gitea."""
