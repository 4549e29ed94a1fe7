"""Mock model providers: replies as streams of parts, faults over them, a player, and a server with a journal."""
