"""What we tell the world about our tables and services; imports nothing of ours."""
