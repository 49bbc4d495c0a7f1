"""Say what a picture shows, a plane of a volume or a slide, with a network over any mixer beside simple floors."""
