"""What a command does beside the run: doctor, gc, lineage, chat, store, evaluate."""
