"""Who is better, by how much, how sure."""
