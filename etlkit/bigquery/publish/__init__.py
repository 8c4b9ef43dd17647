"""From staged rows to the published target."""
