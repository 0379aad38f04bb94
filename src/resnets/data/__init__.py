"""From a folder, an archive, a table or a name to batches of pictures."""
