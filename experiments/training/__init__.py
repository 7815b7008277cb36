"""What a step is: model, optimizer, step, data, guards."""
