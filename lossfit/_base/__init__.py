"""What every room uses: errors, seeds, ragged arrays, summaries; imports nothing of lossfit."""
