"""The tutorial that this project descends from, nine years later (`make tutorial`); its parts are in conf/experiment/tutorial/."""
