"""Policy packs: what they say (model), how one is laid over another, how two differ, what follows."""
