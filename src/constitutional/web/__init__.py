"""The run browser: a web application that shows what runs hold, and takes votes and questions."""
