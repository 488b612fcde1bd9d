"""The local stack: real servers and Backbone's services as processes of this machine."""
