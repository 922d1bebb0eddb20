"""The processes behind the doors: delivery workers and the clock."""
