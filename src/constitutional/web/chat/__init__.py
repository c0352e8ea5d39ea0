"""Chat: one message to several policies of the runs, side by side, told while they write."""
