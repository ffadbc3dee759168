build/rank-000 --model.pretrained_model_name_or_path=null
