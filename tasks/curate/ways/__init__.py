"""How answers become pairs: chosen by a reward, corrected, rendered; and what each way shares with the others."""
