"""Reports: folders of runs and studies as one HTML file that needs no network."""
