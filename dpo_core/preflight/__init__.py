"""What a training will need before it begins: memory, work, time; settings without evidence. No weights are read."""
