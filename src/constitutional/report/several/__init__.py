"""Several runs side by side: what was changed, and what that changed, with intervals."""
