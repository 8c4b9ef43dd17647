"""Files that hold keys or passwords, by name: in no repository, in no upload, in no image."""

from __future__ import annotations

from typing import Final

KEY_FILES: Final = (
    *(".env", ".env.*", "*.pem", "*.p12", "*.key"),
    *("key.json", "*-key.json", "*credentials*.json"),
)
"""Patterns of .gitignore, which match in every folder; .dockerignore needs `**/` before each."""
