"""Fine-tuning of SqueezeNet's heads on anyone's pictures, and export to the node's models."""
