"""The Streamlit hub that hosts every plugin's page."""
