"""Reports: what runs and studies left in their folders, as one HTML file that needs no network."""
