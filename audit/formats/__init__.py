"""What lies on disk: files that appear whole, parcels and guesses as safetensors."""
