"""Our session and tuf's `Updater` side by side: histories, forgers, and where they differ."""
